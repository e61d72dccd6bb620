"""What others see of the fleet: Prometheus' page, and devices for Home Assistant."""
