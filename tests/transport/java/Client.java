import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;

/** Sends a query with the JDK's HTTP client as it comes, which offers h2c, and with Expect: 100-continue. */
public class Client {
    static final String QUERY = "{\"query\": \"{ hello }\"}";

    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var streamed = BodyPublishers.fromPublisher(BodyPublishers.ofString(QUERY)); // chunked, of no stated length
        for (var body : List.of(BodyPublishers.ofString(QUERY), streamed)) {
            for (var expectsContinue : List.of(false, true)) {
                var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                    .header("Content-Type", "application/json")
                    .expectContinue(expectsContinue)
                    .POST(body)
                    .build();
                var response = client.send(request, BodyHandlers.ofString());
                System.out.println(response.statusCode() + " " + response.body());
            }
        }
    }
}
