"""The MQTT connection: broker address, bus, names held by one program, limits."""
