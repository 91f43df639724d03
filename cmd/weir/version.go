package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/app"
	"github.com/weir-registry/weir/internal/serve/api"
)

func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Tell the server's version and what it can do", Args: cobra.NoArgs,
		Long: "Asks the server for its version, the addresses by which clients reach it, its limits and what is on and off. `weir --version` tells the\n" +
			"version of this program, without a server.",
	}
	connect, show := clientFlags(cmd), namelessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var text json.RawMessage
		if err := c.Call(cmd.Context(), http.MethodGet, "/capabilities", nil, &text); err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), text); done || err != nil {
			return err
		}
		var server api.Capabilities
		if err := json.Unmarshal(text, &server); err != nil {
			return fmt.Errorf("the answer of %s: %w", c.Where(), err)
		}
		return table(cmd.OutOrStdout(), capabilities(c.Where(), server))
	}
	return cmd
}

func capabilities(where string, s api.Capabilities) [][]string {
	var on, off []string
	for name, is := range s.Features {
		if is {
			on = append(on, name)
		} else {
			off = append(off, name)
		}
	}
	slices.Sort(on)
	slices.Sort(off)
	most := func(n int64) string {
		if n == 0 {
			return "no limit"
		}
		return strconv.FormatInt(n, 10)
	}
	return [][]string{
		{"client", app.Version}, {"server", s.Version + " at " + where}, {"addresses", strings.Join(s.Addresses, ", ")},
		{"formats", strings.Join(s.Formats, ", ")}, {"credentials", strings.Join(s.CredentialKinds, ", ")},
		{"on", cmp.Or(strings.Join(on, ", "), "-")}, {"off", cmp.Or(strings.Join(off, ", "), "-")},
		{"registries of a group", most(int64(s.Limits.RegistriesPerGroup))}, {"members of a registry", most(int64(s.Limits.MembersPerRegistry))},
		{"bytes of a pushed blob", most(s.Limits.BlobSize)},
	}
}
