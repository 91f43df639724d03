package main

// allRows are the rows in the order in which they run.
func allRows() []row {
	return []row{
		{"manifest", "GET and HEAD by tag and digest, hosted and cached, in a repository of 1,000 tags", manifests},
		{"audit", "the same GETs of cached manifests with the audit of pulls on and off", audited},
		{"push-tags", "10,000 tags into one repository", pushTags},
		{"manifest-10k", "GET by tag of 10,000 beside one tag", tenThousand},
		{"tags", "pages of the list of 10,000 tags", tagPages},
		{"blob-small", "GET of blobs of 600 B and 100 KB", smallBlobs},
		{"blob-large", "GET of a blob of 100 MB", largeBlob},
		{"push-small", "images of 3 × 100 KB, 8 at a time", pushSmall},
		{"push", "an image of 210 MB: mono, stream, chunked", pushMedium},
		{"cold", "first pull of 210 MB from an upstream at 50 ms and 100 MB/s", cold},
		{"herd", "20 clients at once, the same cold image", herd},
		{"warm-fault", "a stale tag while the upstream is down, hangs, answers 429 or 503", warmFault},
		{"cold-fault", "a cold pull while the upstream is down, limits or fails, and after", coldFault},
		{"start", "time and memory of a start", start},
		{"memory", "peak memory in the rows that ran before", memoryPeaks},
	}
}
