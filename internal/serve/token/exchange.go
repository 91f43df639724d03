package token

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve"
)

// Words of a token exchange (RFC 8693, sections 2.1 and 3).
const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// exchanged is the body of a successful exchange (RFC 8693, section 2.2.1).
type exchanged struct {
	AccessToken string `json:"access_token"`
	IssuedType  string `json:"issued_token_type"`
	Type        string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"` // seconds
	Scope       string `json:"scope,omitempty"`
}

// refusal is the body of any other answer (RFC 6749, section 5.2).
type refusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// Exchange is a serve.Handler for POST /api/v1/token/exchange: a workload's token of another issuer for one of this server.
func (g *Gate) Exchange(w http.ResponseWriter, r *http.Request) error {
	info := serve.FromContext(r.Context())
	info.SetOperation("exchange")
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return writeJSON(w, http.StatusMethodNotAllowed, refusal{"invalid_request", "an exchange is a POST"})
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return writeJSON(w, http.StatusBadRequest, refusal{"invalid_request", "the body is not a form, or too long"})
	}
	form := r.PostForm
	if why := wrongForm(form.Get); why != nil {
		return writeJSON(w, http.StatusBadRequest, why)
	}
	host, client := origin(r)
	if err := g.rates.Address(client, time.Now()); err != nil {
		return refuse(w, info, err)
	}
	parsed, err := parseScopes(form["scope"])
	if err != nil {
		return writeJSON(w, http.StatusBadRequest, refusal{"invalid_scope", errScopes.Message})
	}
	var limit func(access.Principal) ([]access.Scope, error)
	if form.Get("scope") != "" {
		limit = func(p access.Principal) ([]access.Scope, error) {
			return g.grantable(r.Context(), ask{host: host, scopes: parsed, principal: p})
		}
	}
	p, issued, err := g.access.Exchange(r.Context(), form.Get("audience"), form.Get("subject_token"), credentials(r), limit)
	if err != nil {
		return refuse(w, info, err)
	}
	info.SetPrincipal(p.Name)
	info.SetAccount(p.ID, string(p.Kind), p.TokenID)
	return writeJSON(w, http.StatusOK, exchanged{
		AccessToken: issued.Text, IssuedType: typeAccessToken, Type: "Bearer", ExpiresIn: int(issued.Life / time.Second),
		Scope: strings.Join(form["scope"], " "),
	})
}

func wrongForm(field func(string) string) *refusal {
	switch kind := field("subject_token_type"); {
	case field("grant_type") != grantExchange:
		return &refusal{"unsupported_grant_type", "grant_type must be " + grantExchange}
	case field("subject_token") == "":
		return &refusal{"invalid_request", "subject_token is missing"}
	case kind != typeJWT && kind != typeIDToken:
		return &refusal{"invalid_request", "subject_token_type must be " + typeIDToken + " or " + typeJWT}
	case field("actor_token") != "" || field("resource") != "":
		return &refusal{"invalid_request", "actor_token and resource are not supported"}
	}
	if kind := field("requested_token_type"); kind != "" && kind != typeAccessToken {
		return &refusal{"invalid_request", "requested_token_type must be " + typeAccessToken}
	}
	return nil
}

// refuse answers with a protocol error in the words of OAuth; anything else is for the Front.
func refuse(w http.ResponseWriter, info *serve.Info, err error) error {
	e, ok := errors.AsType[*oci.Error](err)
	if !ok {
		return err
	}
	if told, ok := event.RefusalOf(err); ok && told.Kind != "" {
		info.Refuse(told)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	switch e.Code {
	case oci.CodeUnauthorized:
		return writeJSON(w, http.StatusBadRequest, refusal{"invalid_grant", e.Message})
	case oci.CodeDenied:
		return writeJSON(w, http.StatusBadRequest, refusal{"invalid_scope", e.Message})
	}
	return writeJSON(w, e.Status(), refusal{"temporarily_unavailable", e.Message})
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(body)
}

// credentials is where a request comes from.
func credentials(r *http.Request) access.Credentials {
	_, client := origin(r)
	return access.Credentials{Address: client, RequestID: requestID(r)}
}

func requestID(r *http.Request) string {
	if info := serve.FromContext(r.Context()); info != nil {
		return info.ID
	}
	return ""
}
