package api

import "github.com/weir-registry/weir/internal/event"

// Actor is the caller in the words of events.
func (c Caller) Actor() event.Actor {
	a := event.Actor{ID: c.ID, Kind: string(c.Kind), TokenID: c.TokenID, RequestID: c.RequestID}
	if c.Address.IsValid() {
		a.Address = c.Address.String()
	}
	return a
}
