"""The client library: requests to an agent, asyncio and blocking."""
