"""The tests are a package: without this file `tests/kafka` would shadow the client library `kafka`."""
