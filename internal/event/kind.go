package event

// Changes lists the kinds of events of changes: every one that is written must be among them, so that it can be asked for.
func Changes() []string {
	return []string{
		"definition.added", "definition.changed", "definition.removed",
		ManifestPushed, ManifestDeleted, BlobDeleted, TagMoved, TagDeleted, RepositoryDeleted, ImageCopied, CachePurged, CacheRefreshed,
		"user.created", "user.password", "user.disabled", "user.enabled", "user.deleted", "user.erased",
		"token.created", "token.revoked", "grant.put", "grant.deleted", "role.put", "role.deleted",
		"robot.put", "robot.deleted", "trust_rule.put", "trust_rule.deleted", "workload.admitted", "workload.refused",
		"session.started", "session.ended", JobRun, "signing_key.rotated", "audit.key_made", "audit.dropped",
	}
}

// Requests lists the kinds of Request, and what stands for requests in the trail.
func Requests() []string {
	return []string{
		Pull, PullChecked, PullDenied, PullFailed, PushDenied, APIDenied, LoginAccepted, LoginRefused, LoginLimited, RequestLimited,
		Gap, PullsCounted,
	}
}
