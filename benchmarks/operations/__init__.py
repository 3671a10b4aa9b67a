"""What an on-call engineer looks at: the cost of a scrape, the queries and the rules on a real run."""
