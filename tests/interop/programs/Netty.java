import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import io.netty.handler.codec.LengthFieldPrepender;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Random;

/** Netty's own codec: Netty.java PORT ORDER WIDTH INCLUDES COUNT, where ORDER is big or little. */
final class Netty {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        ByteOrder order = args[1].equals("big") ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN;
        int width = Integer.parseInt(args[2]);
        boolean includes = Boolean.parseBoolean(args[3]);
        int count = Integer.parseInt(args[4]);
        int most = width == 1 ? 255 - (includes ? 1 : 0) : width == 2 ? 65_535 - (includes ? 2 : 0) : 200_000;
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        try {
            new Bootstrap().group(group).channel(NioSocketChannel.class).handler(new ChannelInitializer<SocketChannel>() {
                @Override
                protected void initChannel(SocketChannel channel) {
                    channel.pipeline().addLast(
                        new LengthFieldBasedFrameDecoder(order, 1 << 24, 0, width, includes ? -width : 0, width, true),
                        new LengthFieldPrepender(order, width, 0, includes),
                        new Frames(count, most));
                }
            }).connect("127.0.0.1", port).sync().channel().closeFuture().sync();
        } finally {
            group.shutdownGracefully(0, 1, java.util.concurrent.TimeUnit.SECONDS);
        }
    }

    private static final class Frames extends SimpleChannelInboundHandler<ByteBuf> {
        private final Random random = new Random();
        private final ArrayDeque<byte[]> awaited = new ArrayDeque<>();
        private final int count;
        private final int most;
        private int sent;
        private int back;

        Frames(int count, int most) {
            this.count = count;
            this.most = most;
        }

        @Override
        public void channelActive(ChannelHandlerContext context) {
            for (int i = 0; i < 10; i++) {
                send(context);
            }
        }

        private void send(ChannelHandlerContext context) {
            if (sent == count) {
                return;
            }
            byte[] payload = new byte[sent == 0 ? 0 : sent == 1 ? most : random.nextInt(most + 1)];
            random.nextBytes(payload);
            sent++;
            awaited.add(payload);
            context.writeAndFlush(Unpooled.wrappedBuffer(payload));
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf frame) {
            if (!Arrays.equals(ByteBufUtil.getBytes(frame), awaited.remove())) {
                System.out.println("frame " + back + " came back changed");
                context.close();
            } else if (++back == count) {
                System.out.println(count + " frames");
                context.close();
            }
            send(context);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            cause.printStackTrace();
            context.close();
        }
    }
}
