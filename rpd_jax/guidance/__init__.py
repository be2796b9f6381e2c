"""Teacher queries: at which steps they are made, how long a label holds, and what it costs."""
