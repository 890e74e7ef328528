"""What keeps a long-running process honest: supervised tasks, backoff, bounded queues, time, logs. No domain logic."""
