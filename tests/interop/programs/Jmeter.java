import java.util.Random;
import org.apache.jmeter.protocol.tcp.sampler.TCPSampler;
import org.apache.jmeter.samplers.SampleResult;
import org.apache.jmeter.util.JMeterUtils;
import org.apache.jorphan.logging.LoggingManager;
import org.apache.jorphan.util.JOrphanUtils;

/**
 * JMeter's TCP sampler with its length-prefixed client: Jmeter.java PROPERTIES PORT COUNT
 *
 * <p>Debian's JMeter cannot load a test plan (its XStream forbids the classes of one), so the sampler is set up here.
 */
final class Jmeter {
    public static void main(String[] args) {
        LoggingManager.setPriority("ERROR");
        JMeterUtils.loadJMeterProperties(args[0]);
        int count = Integer.parseInt(args[2]);
        TCPSampler sampler = new TCPSampler();
        sampler.setClassname("LengthPrefixedBinaryTCPClientImpl");
        sampler.setServer("127.0.0.1");
        sampler.setPort(args[1]);
        // It writes the head and the payload one after the other.
        sampler.setProperty(TCPSampler.NODELAY, true);
        Random random = new Random();
        int most = Short.MAX_VALUE;
        sampler.threadStarted();
        for (int i = 0; i < count; i++) {
            byte[] payload = new byte[i == 0 ? 0 : i == 1 ? most : random.nextInt(most + 1)];
            random.nextBytes(payload);
            String hex = JOrphanUtils.baToHexString(payload);
            sampler.setRequestData(hex);
            SampleResult result = sampler.sample(null);
            if (!result.isSuccessful() || !result.getResponseDataAsString().equals(hex)) {
                System.out.println("frame " + i + " came back changed: " + result.getResponseMessage());
                System.exit(1);
            }
        }
        sampler.threadFinished();
        System.out.println(count + " frames");
    }
}
