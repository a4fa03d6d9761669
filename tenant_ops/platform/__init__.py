"""What every domain stands on: settings, connections, embedded servers, errors, progress, logs.

Nothing here knows what a tenant is. See docs/architecture.md, "Rooms".
"""
