package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Refresh asks the token endpoint of a server (https://weir.example.com) for a refresh token that follows another. It fails when the
// password or token behind that one has changed or ended.
func Refresh(ctx context.Context, server, refresh string) (string, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "access_type": {"offline"}, "client_id": {"weir-cli"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := h.Do(r)
	if err != nil {
		return "", fmt.Errorf("%w at %s: %w", ErrNoServer, server, err)
	}
	defer response.Body.Close()
	var out struct {
		RefreshToken string `json:"refresh_token"`
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s gives no other refresh token: %s", server, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&out); err != nil {
		return "", fmt.Errorf("the answer of %s: %w", server, err)
	}
	if out.RefreshToken == "" {
		return "", errors.New("the server gives no refresh tokens")
	}
	return out.RefreshToken, nil
}
