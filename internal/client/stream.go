package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// stream sends in and reads the JSON lines of the answer until take says that one was the last. There is no deadline but ctx: what tells
// how far it is takes as long as it takes.
func stream[L any](ctx context.Context, c *Client, path string, in any, take func(L) (last bool, err error)) error {
	text, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	patient := *c.http
	patient.Timeout = 0
	response, err := c.send(ctx, &patient, http.MethodPost, path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for lines := json.NewDecoder(response.Body); ; {
		var line L
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return errors.New("the server stopped in the middle of the work")
		case err != nil:
			return fmt.Errorf("read the answer of %s: %w", c.where, err)
		}
		if last, err := take(line); last || err != nil {
			return err
		}
	}
}
