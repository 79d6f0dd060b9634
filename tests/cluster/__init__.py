"""docker-compose.yml without Docker: each service's command in namespaces of its own."""
