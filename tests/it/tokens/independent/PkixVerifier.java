import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.security.Signature;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Verifies a token's path by PKIX and its signature by the leaf's key: PkixVerifier.java CA < TOKEN. Throws where either is not right. */
public class PkixVerifier {
    public static void main(String[] args) throws Exception {
        String token = new String(System.in.readAllBytes(), StandardCharsets.US_ASCII);
        String[] parts = token.split("\\.", -1);
        if (parts.length != 3) throw new Exception("not three parts");
        String header = new String(Base64.getUrlDecoder().decode(parts[0]), StandardCharsets.UTF_8);

        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        List<X509Certificate> chain = new ArrayList<>();
        Matcher listed = Pattern.compile("\"x5c\":\\s*\\[([^\\]]*)\\]").matcher(header);
        if (!listed.find()) throw new Exception("no x5c");
        for (String text : listed.group(1).split(",")) {
            byte[] der = Base64.getDecoder().decode(text.strip().replace("\"", ""));
            chain.add((X509Certificate) factory.generateCertificate(new ByteArrayInputStream(der)));
        }
        X509Certificate ca;
        try (FileInputStream file = new FileInputStream(args[0])) {
            ca = (X509Certificate) factory.generateCertificate(file);
        }
        CertPath path = factory.generateCertPath(chain);
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(ca, null)));
        parameters.setRevocationEnabled(false);
        CertPathValidator.getInstance("PKIX").validate(path, parameters);

        Matcher named = Pattern.compile("\"alg\":\\s*\"([^\"]*)\"").matcher(header);
        if (!named.find()) throw new Exception("no alg");
        Signature signature = signature(named.group(1));
        signature.initVerify(chain.get(0).getPublicKey());
        signature.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
        if (!signature.verify(Base64.getUrlDecoder().decode(parts[2]))) throw new Exception("another key's signature");
        System.out.println("{\"verified\": true}");
    }

    private static Signature signature(String alg) throws Exception {
        switch (alg) {
            case "RS256":
                return Signature.getInstance("SHA256withRSA");
            case "PS256":
                Signature pss = Signature.getInstance("RSASSA-PSS");
                pss.setParameter(new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
                return pss;
            case "ES256":
                return Signature.getInstance("SHA256withECDSAinP1363Format");
            case "ES384":
                return Signature.getInstance("SHA384withECDSAinP1363Format");
            case "EdDSA":
                return Signature.getInstance("Ed25519");
            default:
                throw new Exception("an algorithm of its own: " + alg);
        }
    }
}
