"""A real Apache Kafka for the tests: `broker` starts it, `conftest` hands it out."""
