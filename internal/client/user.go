package client

import (
	"context"
	"net/http"
	"net/url"
)

// User is an account.
type User struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Enabled     bool   `json:"enabled"`
	HasPassword bool   `json:"has_password"`
}

// CreateUser makes a user; without a password it logs in with tokens alone.
func (c *Client) CreateUser(ctx context.Context, name, password string) (out User, err error) {
	err = c.Call(ctx, http.MethodPost, "/users", map[string]string{"name": name, "password": password}, &out)
	return out, err
}

// SetPassword sets a user's password. Who is no administrator gives the old one.
func (c *Client) SetPassword(ctx context.Context, name, password, old string) error {
	in := map[string]string{"password": password, "old_password": old}
	return c.Call(ctx, http.MethodPut, "/users/"+url.PathEscape(name)+"/password", in, nil)
}

// SetEnabled lets a user in, or locks it out.
func (c *Client) SetEnabled(ctx context.Context, name string, enabled bool) (out User, err error) {
	err = c.Call(ctx, http.MethodPatch, "/users/"+url.PathEscape(name), map[string]bool{"enabled": enabled}, &out)
	return out, err
}
