// Java's javax.net.ssl: Tls PORT CA VERSION COUNT, where VERSION is 1.2 or 1.3.
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.FileInputStream;
import java.io.InputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.Random;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

class Tls {
    static final int[] SIZES = {0, 1, 16 << 10, (16 << 10) + 1, 1 << 20};

    static byte[] frames(int count) throws Exception {
        Random random = new Random();
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        DataOutputStream data = new DataOutputStream(all);
        for (int i = 0; i < count; i++) {
            byte[] payload = new byte[i < SIZES.length ? SIZES[i] : random.nextInt(40_000)];
            random.nextBytes(payload);
            data.writeInt(Integer.reverseBytes(payload.length));
            data.write(payload);
        }
        return all.toByteArray();
    }

    /** Returns when the session was made. */
    static long exchange(SSLContext context, int port, String version, int count) throws Exception {
        byte[] sent = frames(count);
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port)) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            parameters.setProtocols(new String[] {"TLSv" + version});
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            Thread writer = new Thread(() -> {
                try {
                    socket.getOutputStream().write(sent);
                    socket.shutdownOutput(); // close_notify
                } catch (Exception error) {
                    error.printStackTrace();
                    System.exit(1);
                }
            });
            writer.start();
            InputStream input = socket.getInputStream();
            byte[] back = input.readAllBytes(); // an error without the server's close_notify
            writer.join();
            if (!Arrays.equals(back, sent)) {
                throw new Exception(back.length + " of " + sent.length + " bytes came back as they went");
            }
            return socket.getSession().getCreationTime();
        }
    }

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (InputStream file = new FileInputStream(arguments[1])) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trusts = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trusts.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trusts.getTrustManagers(), null);
        int count = Integer.parseInt(arguments[3]);
        long first = exchange(context, port, arguments[2], count - 5);
        long second = exchange(context, port, arguments[2], 5);
        if (first != second) {
            throw new Exception("the session was not resumed");
        }
        System.out.println(count + " frames");
    }
}
