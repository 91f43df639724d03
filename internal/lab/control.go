package lab

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

// controlPath is the door through which people control an Upstream. No fault applies to it.
const controlPath = "/_lab/"

// maxControlBody bounds what a control request may send.
const maxControlBody = 64 << 10

// control answers a request to the control door; path is what follows controlPath.
func (u *Upstream) control(w http.ResponseWriter, r *http.Request, path string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	switch r.Method + " " + path {
	case "GET ":
		base := u.base(r)
		_, _ = io.WriteString(w, Guide(base, u.storageBase(r), u.Example()))
	case "GET faults":
	case "PUT faults", "POST faults":
		if !u.change(w, r) {
			return
		}
	case "DELETE faults":
		u.Set(func(b *Behavior) { *b = Behavior{} })
	case "POST expire":
		u.ExpireTokens()
		u.ExpireSigned()
	case "GET requests":
		u.writeRequests(w)
	case "DELETE requests":
		u.Forget()
	case "GET images":
		writeJSON(w, u.Images())
	case "GET apply.yaml":
		_, _ = io.WriteString(w, Declaration(u.base(r), u.login(), u.CA()))
	default:
		http.Error(w, "no such thing; GET "+controlPath+" says what there is", http.StatusNotFound)
		return
	}
	if path == "faults" {
		writeJSON(w, u.Playing())
	}
}

// change takes faults from a request; false when they make no sense and it has been told so.
func (u *Upstream) change(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	if err == nil {
		play := u.Play
		if r.Method == http.MethodPost {
			play = u.Add
		}
		err = play(strings.Split(string(body), "\n")...)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // a client that left does not need it
}

// requestsShown bounds the single requests that the control door shows.
const requestsShown = 50

func (u *Upstream) writeRequests(w http.ResponseWriter) {
	type shown struct {
		Method     string `json:"method"`
		Kind       Kind   `json:"kind"`
		Repository string `json:"repository,omitempty"`
		Reference  string `json:"reference,omitempty"`
		Status     int    `json:"status"`
	}
	out := struct {
		Total  int     `json:"total"`
		Open   int     `json:"open"`   // being answered or held
		Leaked int     `json:"leaked"` // credentials that reached the storage host: must be 0
		Counts []Count `json:"counts"`
		Recent []shown `json:"recent"` // oldest first
	}{Counts: u.Counts(), Recent: []shown{}}
	u.mu.Lock()
	out.Total, out.Open, out.Leaked = u.ledger.total, u.ledger.open-1, u.ledger.leaks // but for the one that asks
	for _, q := range u.ledger.recent[max(0, len(u.ledger.recent)-requestsShown):] {
		out.Recent = append(out.Recent, shown{q.Method, q.Kind, q.Repository, q.Reference, q.Status})
	}
	u.mu.Unlock()
	writeJSON(w, out)
}

// ImageInfo is one tag of an Upstream.
type ImageInfo struct {
	Repository string     `json:"repository"`
	Tag        string     `json:"tag"`
	MediaType  string     `json:"media_type"`
	Digest     oci.Digest `json:"digest"`
}
