package demo;

import org.springframework.context.annotation.Profile;
import org.springframework.security.access.prepost.PreAuthorize;
import org.springframework.security.core.Authentication;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@RestController
@Profile("!client")
public class Api {
    @GetMapping("/messages")
    @PreAuthorize("hasAuthority('SCOPE_messages:read')")
    String messages(Authentication authentication) {
        return "{\"user\": \"" + authentication.getName() + "\"}";
    }

    @GetMapping("/orders")
    @PreAuthorize("hasAuthority('SCOPE_orders:read')")
    String orders(Authentication authentication) {
        return "{\"user\": \"" + authentication.getName() + "\"}";
    }
}
