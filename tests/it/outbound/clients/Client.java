import java.io.ByteArrayInputStream;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

/** Java's two clients. They read the proxy's host and port in properties, and know its password by an Authenticator alone. */
class Client {
    interface Ask {
        byte[] of(String path, byte[] body) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[1];
        String user = URI.create(System.getenv("CF_INSTANCE_MTLS_PROXY")).getUserInfo();
        Authenticator knows = new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                String[] parts = user.split(":", 2);
                return new PasswordAuthentication(parts[0], parts[1].toCharArray());
            }
        };
        HttpClient.Builder builder = HttpClient.newBuilder();
        if (user != null) {
            Authenticator.setDefault(knows);
            builder.authenticator(knows);
        }
        HttpClient client = builder.build();
        Ask old = (path, body) -> {
            HttpURLConnection connection = (HttpURLConnection) URI.create(url + path).toURL().openConnection();
            if (body != null) {
                connection.setDoOutput(true);
                connection.setChunkedStreamingMode(4096);
                connection.getOutputStream().write(body);
            }
            return connection.getInputStream().readAllBytes();
        };
        Ask current = (path, body) -> {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + path));
            if (body != null) {
                request.POST(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body)));
            }
            return client.send(request.build(), BodyHandlers.ofByteArray()).body();
        };
        Ask ask = arguments[0].equals("HttpClient") ? current : old;
        String hello = new String(ask.of("/hello", null));
        String count = new String(ask.of("/count", new byte[100_000]));
        System.out.println(hello + " " + count + " " + ask.of("/large", null).length);
    }
}
