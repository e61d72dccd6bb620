"""edgesplit: one DNN over device, edge and cloud."""
