package demo;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.security.config.annotation.method.configuration.EnableMethodSecurity;

/** The profile selects what the app is: `client`, or an API with the configuration `jwt`, `at-jwt`, or `opaque`. */
@SpringBootApplication
@EnableMethodSecurity
public class App {
    public static void main(String[] arguments) {
        SpringApplication.run(App.class, arguments);
    }
}
