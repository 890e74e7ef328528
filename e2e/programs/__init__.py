"""Programs that run in Pods of tests, with what is in Lateen's image: each file is run by itself."""
