// Reads a token from stdin, and prints which app has made it for us.
//
//     vestibule token jwt --audience billing | java -cp "$JACKSON" Receiver.java ca.crt billing
//
// Needs Java 17 or newer, and jackson-databind 2.10 or newer with its two companions, for the JSON.
// Left out: CRLs, one use only (replay), roles, and a longest life for tokens.
// A token that is bound to a certificate (cnf) is refused, since nobody tells this program who the caller is.

import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECPublicKey;
import java.security.interfaces.EdECPublicKey;
import java.security.interfaces.RSAPublicKey;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import javax.naming.directory.Attribute;
import javax.naming.ldap.LdapName;
import javax.naming.ldap.Rdn;

public final class Receiver {
    private static final long SKEW = 60;
    private static final String CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
    private static final ObjectMapper JSON = JsonMapper.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    /** The app that has made {@code token} for {@code audience}, as its certificate says; else an exception. */
    static String verify(String token, Set<TrustAnchor> cas, String audience) throws Exception {
        String[] parts = token.split("\\.", -1);
        if (token.length() > 16384 || parts.length != 3) throw new SecurityException("it is no token");
        JsonNode header = json(parts[0]);
        if (header.has("crit")) throw new SecurityException("it wants something that is not known here");
        JsonNode x5c = header.path("x5c");
        if (!x5c.isArray() || x5c.isEmpty() || x5c.size() > 6) {
            throw new SecurityException("it carries no certificates");
        }
        List<X509Certificate> chain = new ArrayList<>();
        for (JsonNode text : x5c) chain.add(certificate(Base64.getDecoder().decode(text.textValue())));
        X509Certificate leaf = chain.get(0);

        // Signatures, dates and constraints of the whole path, and the leaf's extended key usage.
        X509CertSelector target = new X509CertSelector();
        target.setCertificate(leaf);
        target.setExtendedKeyUsage(Set.of(CLIENT_AUTH));
        PKIXBuilderParameters path = new PKIXBuilderParameters(cas, target);
        path.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(chain)));
        path.setRevocationEnabled(false);
        CertPathBuilder.getInstance("PKIX").build(path);
        boolean[] usage = leaf.getKeyUsage();
        if (usage == null || !usage[0]) throw new SecurityException("its key is not for signatures");
        if (leaf.getBasicConstraints() != -1) throw new SecurityException("its certificate is a CA's");

        // From here on the certificate is believed, and the token is not.
        Signature signature = signature(header.path("alg").asText(), leaf.getPublicKey());
        signature.initVerify(leaf.getPublicKey());
        signature.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
        if (!signature.verify(Base64.getUrlDecoder().decode(parts[2]))) {
            throw new SecurityException("its signature is wrong");
        }

        JsonNode claims = json(parts[1]);
        long now = Instant.now().getEpochSecond();
        if (now - SKEW >= seconds(claims, "exp")) throw new SecurityException("it has expired");
        if (now + SKEW < Math.max(seconds(claims, "nbf"), seconds(claims, "iat"))) {
            throw new SecurityException("it is from the future");
        }
        if (!isAmong(claims.path("aud"), audience)) throw new SecurityException("it is for somebody else");
        String app = appOf(leaf);
        if (!("cf:app:" + app).equals(claims.path("sub").textValue())) {
            throw new SecurityException("it speaks for another app than its certificate");
        }
        if (claims.has("cnf")) throw new SecurityException("it is bound, and the caller's certificate is not known here");
        return app;
    }

    /** The key says which algorithms count, and not the header (RFC 8725, section 3.1). */
    private static Signature signature(String algorithm, PublicKey key) throws GeneralSecurityException {
        switch (algorithm + " with " + kind(key)) {
            case "RS256 with RSA":
                return Signature.getInstance("SHA256withRSA");
            case "PS256 with RSA":
                Signature pss = Signature.getInstance("RSASSA-PSS");
                pss.setParameter(new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
                return pss;
            case "ES256 with 1.2.840.10045.3.1.7":
                return Signature.getInstance("SHA256withECDSAinP1363Format");
            case "ES384 with 1.3.132.0.34":
                return Signature.getInstance("SHA384withECDSAinP1363Format");
            case "EdDSA with Ed25519":
                return Signature.getInstance("Ed25519");
            default:
                throw new SecurityException("its algorithm does not fit its key");
        }
    }

    private static String kind(PublicKey key) throws GeneralSecurityException {
        if (key instanceof RSAPublicKey rsa) {
            int bits = rsa.getModulus().bitLength();
            return bits >= 2048 && bits <= 4096 ? "RSA" : "an RSA key of another size";
        }
        if (key instanceof ECPublicKey ec) {
            AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
            curve.init(ec.getParams());
            return curve.getParameterSpec(ECGenParameterSpec.class).getName();
        }
        return key instanceof EdECPublicKey ed ? ed.getParams().getName() : "another key";
    }

    /** The GUID in OU=app:GUID. The CN is the instance's; without it the instance is about to stop. */
    private static String appOf(X509Certificate leaf) throws Exception {
        List<String> apps = new ArrayList<>();
        int instances = 0;
        for (Rdn rdn : new LdapName(leaf.getSubjectX500Principal().getName()).getRdns()) {
            // One RDN may hold several values, and the platform's does.
            var attributes = rdn.toAttributes().getAll();
            while (attributes.hasMore()) {
                Attribute attribute = attributes.next();
                var values = attribute.getAll();
                while (values.hasMore()) {
                    Object value = values.next();
                    if (attribute.getID().equalsIgnoreCase("CN")) instances++;
                    boolean isUnit = attribute.getID().equalsIgnoreCase("OU");
                    if (isUnit && value instanceof String unit && unit.startsWith("app:")) {
                        apps.add(unit.substring("app:".length()));
                    }
                }
            }
        }
        if (apps.size() != 1 || instances != 1) {
            throw new SecurityException("its certificate does not name one app and one instance");
        }
        return apps.get(0);
    }

    private static JsonNode json(String part) throws Exception {
        JsonNode read = JSON.readTree(Base64.getUrlDecoder().decode(part));
        if (!read.isObject()) throw new SecurityException("it is no token");
        return read;
    }

    /** One audience or several (RFC 7519, section 4.1.3). */
    private static boolean isAmong(JsonNode audiences, String audience) {
        if (!audiences.isArray()) return audience.equals(audiences.textValue());
        for (JsonNode one : audiences) if (audience.equals(one.textValue())) return true;
        return false;
    }

    private static long seconds(JsonNode claims, String name) {
        JsonNode value = claims.path(name);
        if (!value.isIntegralNumber() || !value.canConvertToLong()) {
            throw new SecurityException("it does not say " + name);
        }
        return value.longValue();
    }

    private static X509Certificate certificate(byte[] der) throws GeneralSecurityException {
        InputStream input = new ByteArrayInputStream(der);
        return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(input);
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 2) {
            System.err.println("usage: Receiver CA_FILE AUDIENCE < TOKEN");
            System.exit(2);
        }
        Set<TrustAnchor> cas = new HashSet<>();
        try (InputStream file = Files.newInputStream(Path.of(args[0]))) {
            for (Certificate ca : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                cas.add(new TrustAnchor((X509Certificate) ca, null));
            }
        }
        try {
            String token = new String(System.in.readAllBytes(), StandardCharsets.US_ASCII).strip();
            System.out.println("permit " + verify(token, cas, args[1]));
        } catch (Exception error) {
            // Whatever a stranger's token brings about is a refusal.
            System.err.println("refused: " + error.getMessage());
            System.exit(1);
        }
    }
}
