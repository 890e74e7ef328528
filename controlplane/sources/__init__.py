"""Where objects come from: a directory, a cluster, a test. All speak `source.Source`, none knows what they mean."""
