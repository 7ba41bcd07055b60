package demo;

import java.time.Duration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Profile;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.RefreshTokenOAuth2AuthorizedClientProvider;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@RestController
@Profile("client")
public class Client {
    @GetMapping("/")
    String user(@AuthenticationPrincipal OidcUser user) {
        return user.getFullName() + ", " + user.getEmail() + ", " + user.getClaimAsStringList("groups");
    }

    @GetMapping("/token")
    String token(@RegisteredOAuth2AuthorizedClient("rolecall") OAuth2AuthorizedClient client) {
        return client.getAccessToken().getTokenValue();
    }

    /** Refreshes the access token, which is valid for five minutes, at each use; by default in its last minute. */
    @Bean
    RefreshTokenOAuth2AuthorizedClientProvider refresh() {
        var provider = new RefreshTokenOAuth2AuthorizedClientProvider();
        provider.setClockSkew(Duration.ofMinutes(5));
        return provider;
    }
}
