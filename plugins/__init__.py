"""Repository plugins: your own modules live here, next to the worked examples `accesslog` and `default_utils`."""
