"""Where files come from: paths, the Hub and URLs, with their caches on this machine."""
