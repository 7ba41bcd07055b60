"""HTTP requests to URLs that clients supply: the address policy, the cache, and the fetcher."""
