"""`meshkit demo`: all of meshkit on a local mesh with real data, each step checked by itself."""
