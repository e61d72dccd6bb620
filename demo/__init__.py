"""The demo: one machine plays device, edge and cloud (`make demo`)."""
