"""Link measurement: latency and bandwidth of each directed link, and what probing may cost."""
