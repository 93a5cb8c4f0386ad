package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestRefusedOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"every interface", []string{"-addr", ":9400"}, "-insecure-allow-network"},
		{"another machine's", []string{"-addr", "192.0.2.1:9400"}, "-insecure-allow-network"},
		{"by a name", []string{"-addr", "issuer.example:9400"}, "-insecure-allow-network"},
		{"no port", []string{"-addr", "127.0.0.1"}, "-addr"},
		{"a URL elsewhere", []string{"-url", "https://issuer.example"}, "-insecure-allow-network"},
		{"a URL with a path", []string{"-url", "http://127.0.0.1:9400/i_dev"}, "-path"},
		{"a URL that is none", []string{"-url", "127.0.0.1:9400"}, "-url"},
		{"another scheme", []string{"-backchannel", "file:///etc/passwd"}, "-backchannel"},
		{"the root", []string{"-path", "/"}, "-path"},
		{"the page's own", []string{"-path", "/keys"}, "-path"},
		{"a path with dots", []string{"-path", "/../x"}, "-path"},
		{"no redirect URI", []string{"-redirect", "/auth/callback"}, "redirect"},
		{"a fragment", []string{"-redirect", "http://127.0.0.1/#x"}, "redirect"},
		{"an algorithm", []string{"-alg", "HS256"}, "-alg"},
		{"a life", []string{"-token-life", "0s"}, "life"},
		{"an argument", []string{"serve"}, `"serve"`},
		{"a flag", []string{"-listen", "x"}, "-h"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, err := command(t, nil, append([]string{"-keys", ""}, tc.args...)...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("got %v, %s; want an error with %s", err, out, tc.want)
			}
		})
	}
}

// Help is no failure, and shows no secret of the environment.
func TestHelp(t *testing.T) {
	t.Parallel()
	out, err := command(t, []string{"AUTHPI_CLIENT_SECRET=real-secret"}, "-h").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-insecure-allow-network") || strings.Contains(string(out), "real-secret") {
		t.Errorf("got %v, %s", err, out)
	}
}

func TestClientByFlagAndEnvironment(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys.json")
	start(t, "-keys", keys).stop()
	for _, tc := range []struct {
		name, id, secret string // what signs in
		env, args        []string
		printed, hidden  string
	}{
		{name: "nothing said", id: "c_dev", secret: defaultSecret, printed: "export AUTHPI_CLIENT_SECRET=only-for-development\n"},
		{
			name: "by flag", args: []string{"-client-id", "c_x", "-client-secret", "it's"}, id: "c_x", secret: "it's",
			printed: `export AUTHPI_CLIENT_SECRET='it'\''s'`,
		},
		{
			name: "by the environment", env: []string{"AUTHPI_CLIENT_ID=c_y", "AUTHPI_CLIENT_SECRET=real-secret"},
			id: "c_y", secret: "real-secret", printed: "export AUTHPI_CLIENT_ID=c_y", hidden: "real-secret",
		},
		{
			name: "the flag wins", env: []string{"AUTHPI_CLIENT_SECRET=real-secret"}, args: []string{"-client-secret", "other"},
			id: "c_dev", secret: "other", printed: "=other", hidden: "real-secret",
		},
		{
			name: "public", env: []string{"AUTHPI_CLIENT_SECRET=real-secret"}, args: []string{"-client-secret", "-"},
			id: "c_dev", printed: "a public client", hidden: "real-secret",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := startCommand(t, command(t, tc.env, append([]string{"-addr", "127.0.0.1:0", "-keys", keys}, tc.args...)...))
			if !strings.Contains(r.said, tc.printed) || tc.hidden != "" && strings.Contains(r.said, tc.hidden) {
				t.Errorf("it printed\n%s", r.said)
			}
			r.exported["AUTHPI_CLIENT_ID"], r.exported["AUTHPI_CLIENT_SECRET"] = tc.id, tc.secret
			r.signIn(r.client(), "usr_ada")
		})
	}
}

// In a container it listens to all, and answers by the name that browsers use.
func TestURL(t *testing.T) {
	t.Parallel()
	r := start(t, "-addr", "0.0.0.0:0", "-url", "http://issuer.example:9400/", "-insecure-allow-network", "-path", "/a/b")
	if r.issuerURL() != "http://issuer.example:9400/a/b" {
		t.Errorf("the issuer is %s", r.issuerURL())
	}
	r = start(t, "-addr", "0.0.0.0:0", "-insecure-allow-network")
	if !strings.HasPrefix(r.base, "http://127.0.0.1:") {
		t.Errorf("the page is at %s", r.base)
	}
	r.page()
}
