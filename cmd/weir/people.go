package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/serve/api"
)

// Who may do what: people and machines, and what they were given.

func users() *resource {
	return &resource{
		noun: "user", short: "Users: people who log in", path: "/users/{name}", key: "name",
		long:    "What a user may do is given by `weir grant`.",
		columns: columns{"name", "has_password=password", "enabled", "created_at:time=created", "id"},
		filters: append([]filter{{name: "enabled", doc: "true or false: only those that may log in, or that are locked out", of: yesNo}}, nameFilters...),
		verbs:   []string{"list", "get", "delete"}, dry: triedGone,
		warning: "Its grants, tokens and sessions go too.",
		more:    userCommands,
	}
}

func roles() *resource {
	return &resource{
		noun: "role", short: "Roles: named sets of actions that grants give", path: "/groups/{group}/roles/{name}", key: "name",
		long: "The built-in roles are reader, developer, maintainer and owner; those of the instance are good in every group.",
		form: api.Role{}, columns: columns{"name=role", "actions", "builtin=built in", "instance"},
		filters: append([]filter{{name: "action", doc: "only those that allow it", of: append(actionsToGive(), string(access.Administer))}}, nameFilters...), verbs: everyVerb, dry: triedGone, global: true,
		warning: "It is refused while a grant gives it.",
		example: "  weir role create publisher --actions pull,push",
		values:  map[string][]string{"actions": actionsToGive()},
	}
}

// actionsToGive are those that a role can have: what an owner may.
func actionsToGive() (out []string) {
	for _, a := range access.Owner.Actions() {
		out = append(out, string(a))
	}
	return out
}

func grants() *resource {
	return &resource{
		noun: "grant", short: "Grants: who has which role where", path: "/groups/{group}/grants/{user}/{path}", listed: "/groups/{group}/grants", key: "account",
		long: "A grant gives a user a role at a path of the group and below it; without a path, or with -, in all of the group, and with --instance in every\n" +
			"group. Robots and trust rules have their grants themselves: `weir robot update NAME --grants ROLE:PATH`.",
		form: api.AccountGrant{}, columns: columns{"account", "kind", "path", "role", "origin"},
		filters: []filter{
			{name: "account", doc: "only those of accounts with this in their name"}, {name: "role", doc: "only those that give this role"},
			{name: "kind", doc: "user, robot or workload: only those of such accounts", of: []string{"user", "robot", "workload"}}, {name: "sort", doc: "account, or -account for backwards", of: []string{"account", "-account"}},
		},
		verbs: []string{"list", "get", "create", "delete"}, called: map[string]string{"create": "set"}, upsert: true, global: true,
		warning: "Who has no other grant that covers the path may do nothing there from now on.",
		example: "  weir grant set ann --role developer\n  weir grant set bob team/app --role maintainer", whole: "-",
	}
}

func robots() *resource {
	return &resource{
		noun: "robot", short: "Robots: accounts of a group that log in with tokens alone", path: "/groups/{group}/robots/{name}", key: "name",
		form: api.Robot{}, columns: columns{"name=robot", "enabled", "grants.role=roles", "grants.path=paths"}, filters: switchable, verbs: everyVerb, dry: triedGone,
		long:    "Their tokens are made by `weir token create --robot NAME`.",
		warning: "Its tokens end.",
		example: "  weir robot create ci --grants developer:team\n  weir token create --robot ci --name pipeline --expires 90d",
	}
}

func trustRules() *resource {
	return &resource{
		noun: "trust-rule", short: "Trust rules: workloads that are let in by tokens of another issuer", path: "/groups/{group}/trust-rules/{name}", key: "name",
		form: api.TrustRule{}, columns: columns{"name=rule", "issuer", "audience", "conditions:count", "grants.role=roles", "enabled"},
		filters: append([]filter{{name: "issuer", doc: "only those for tokens of this issuer"}}, switchable...), verbs: everyVerb, dry: triedGone,
		warning: "Workloads it let in end with their tokens.",
		more:    trustRuleCommands,
		example: "  weir trust-rule create gitlab --issuer https://gitlab.example.com --audience weir --conditions \"project_path=acme/*\" --grants developer:team",
	}
}

func sessions() *resource {
	return &resource{
		noun: "session", short: "Sessions: the browsers that you are logged in with", path: "/sessions/{id}", key: "id",
		columns: columns{"id", "user", "method", "address", "last_used_at:time=last used", "expires_at:time=expires", "user_agent=browser"},
		verbs:   []string{"list", "delete"}, called: map[string]string{"delete": "revoke"},
		warning: "The browser is logged out.",
	}
}

func trustRuleCommands(r *resource, connect connector) []*cobra.Command {
	cmd := &cobra.Command{
		Use: "test NAME -f FILE", Short: "Try the claims of a token on a trust rule", Args: cobra.ExactArgs(1), ValidArgsFunction: r.complete(connect),
		Long: "The file holds the claims as JSON, decoded: never the token itself. Tried are issuer, audience, conditions and times (exp, nbf,\n" +
			"iat), as at an exchange, but not the signature. The exit code is 1 when the rule would not let them in.",
	}
	file := cmd.Flags().StringP("file", "f", "", `claims as a JSON object; "-" for standard input`)
	_ = cmd.MarkFlagRequired("file") // the flag exists
	show := namelessFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := readInput(cmd, *file)
		if err != nil {
			return err
		}
		var claims map[string]any
		if json.Unmarshal(text, &claims) != nil {
			return errors.New("want the claims as a JSON object")
		}
		t, err := r.at(cmd, connect, r.path+"/test", args, nil)
		if err != nil {
			return err
		}
		a, err := t.do(cmd.Context(), http.MethodPost, map[string]any{"claims": claims})
		if err != nil {
			return r.orNear(cmd, t, args, err)
		}
		var out api.TrustVerdict
		if err := decode(a, &out); err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), out); err != nil {
			return err
		} else if !done {
			tellVerdict(cmd, out)
		}
		if !out.Matches || !out.Enabled {
			return errReported
		}
		return nil
	}
	return []*cobra.Command{cmd}
}

func tellVerdict(cmd *cobra.Command, v api.TrustVerdict) {
	w := cmd.OutOrStdout()
	switch {
	case !v.Enabled:
		fmt.Fprintln(w, "the rule is turned off and lets nobody in")
	case v.Matches:
		fmt.Fprintln(w, "the rule lets them in; all was tried but the signature")
	}
	for _, lack := range v.Lacks {
		fmt.Fprintln(w, "not: "+lack)
	}
}

func newPermissionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "permissions [PATH]", Short: "Tell what somebody may do at a path, and by which grant", Args: cobra.MaximumNArgs(1),
		Long:    "The path is a group, or a group and a path below it; without one it is the instance.",
		Example: "  weir permissions acme/team/app --as ann",
	}
	as := cmd.Flags().String("as", "", "who: a user, GROUP/NAME for a robot or trust rule, or anonymous (default: you)")
	connect, show := clientFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q := url.Values{}
		if len(args) > 0 {
			q.Set("path", args[0])
		}
		if *as != "" {
			q.Set("as", *as)
		}
		c, err := connect()
		if err != nil {
			return err
		}
		a, err := target{client: c, path: "/permissions", query: q}.do(cmd.Context(), http.MethodGet, nil)
		if err != nil {
			return err
		}
		var out struct{ Actions []json.RawMessage }
		if err := decode(a, &out); err != nil {
			return err
		}
		if done, err := show(cmd.OutOrStdout(), a.Body, allowedOf(out.Actions)...); done || err != nil {
			return err
		}
		return table(cmd.OutOrStdout(), columns{"action", "allowed", "role", "scope", "why"}.rows(out.Actions))
	}
	return cmd
}

// allowedOf are the actions that are allowed.
func allowedOf(actions []json.RawMessage) (names []string) {
	for _, action := range actions {
		var p api.Permission
		if json.Unmarshal(action, &p) == nil && p.Allowed {
			names = append(names, string(p.Action))
		}
	}
	return names
}
