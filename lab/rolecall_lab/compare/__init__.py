"""Compare the two checks: one token, asked about both ways (RFC 7662; RFC 9068 section 4), and what each notices."""
