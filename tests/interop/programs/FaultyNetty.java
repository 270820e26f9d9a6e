import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import io.netty.handler.codec.LengthFieldPrepender;
import io.netty.handler.timeout.ReadTimeoutHandler;
import io.netty.util.CharsetUtil;
import java.io.IOException;
import java.util.concurrent.TimeUnit;

/** Says what becomes of the second of two frames: FaultyNetty.java MILLISECONDS PORT. */
final class FaultyNetty {
    public static void main(String[] args) throws Exception {
        long timeout = Long.parseLong(args[0]);
        int port = Integer.parseInt(args[1]);
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        try {
            new Bootstrap().group(group).channel(NioSocketChannel.class).handler(new ChannelInitializer<SocketChannel>() {
                @Override
                protected void initChannel(SocketChannel channel) {
                    channel.pipeline().addLast(
                        new ReadTimeoutHandler(timeout, TimeUnit.MILLISECONDS),
                        new LengthFieldBasedFrameDecoder(1 << 20, 0, 4, 0, 4),
                        new LengthFieldPrepender(4),
                        new Frames());
                }
            }).connect("127.0.0.1", port).sync().channel().closeFuture().sync();
        } finally {
            group.shutdownGracefully(0, 1, TimeUnit.SECONDS);
        }
    }

    private static final class Frames extends SimpleChannelInboundHandler<ByteBuf> {
        private boolean said;

        @Override
        public void channelActive(ChannelHandlerContext context) {
            send(context, "first");
        }

        private static void send(ChannelHandlerContext context, String text) {
            context.writeAndFlush(context.alloc().buffer().writeBytes(text.getBytes(CharsetUtil.UTF_8)));
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf frame) {
            String text = frame.toString(CharsetUtil.UTF_8);
            if (text.equals("first")) {
                send(context, "second");
            } else {
                say(context, "frame " + text);
            }
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            // The text of a reset is not the same in all versions of Java.
            boolean isReset = cause instanceof IOException && cause.getMessage().startsWith("Connection reset");
            say(context, isReset ? "reset" : cause.getClass().getSimpleName());
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) {
            say(context, "inactive");
        }

        private void say(ChannelHandlerContext context, String what) {
            if (!said) {
                System.out.println(what);
            }
            said = true;
            context.close();
        }
    }
}
