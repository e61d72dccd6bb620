"""How steady this machine is: a fixed workload now and then, and what the kernel says was taken away."""
