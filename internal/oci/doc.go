// Package oci is the vocabulary of the registry protocol: names, references, digests, descriptors, media types, manifests,
// patterns and protocol errors, as the OCI Distribution Specification 1.1 and the OCI Image Specification 1.1 define them.
//
// Everything else imports it; it imports nothing of ours and does no I/O. All functions are safe for concurrent use.
package oci
