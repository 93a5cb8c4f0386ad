package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// options are what the flags and the environment say.
type options struct {
	addr, url, path        string
	clientID, clientSecret string
	secretFromEnv          bool // so that it is not printed
	redirects, afterLogout list
	people, keys           string // files
	backchannel            string
	algorithm              string
	tokenLife, refreshLife time.Duration
	machineLife            time.Duration
	allowNetwork           bool
	printPeople, help      bool
}

// What an app is configured with when nothing else is said.
const (
	defaultClientID = "c_dev"
	defaultSecret   = "only-for-development"
	defaultRedirect = "http://127.0.0.1:8080/auth/callback"
)

// algorithms are those of the keys, in the order of authpitest.
var algorithms = []string{"ES256", "RS256", "EdDSA"}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// parseOptions prints help on standard error where that is asked for. A secret from
// the environment is no flag's default, since help would print it.
func parseOptions(args []string, getenv func(string) string) (options, error) {
	var o options
	f := flag.NewFlagSet("issuer", flag.ContinueOnError)
	f.StringVar(&o.addr, "addr", "127.0.0.1:9400", "`address` to listen on")
	f.StringVar(&o.url, "url", "", "where browsers and apps reach it; empty: http:// and the address")
	f.StringVar(&o.path, "path", "/i_dev", "the issuer URL's path")
	f.StringVar(&o.clientID, "client-id", cmp.Or(getenv("AUTHPI_CLIENT_ID"), defaultClientID), "the app's client ID; also AUTHPI_CLIENT_ID")
	f.StringVar(&o.clientSecret, "client-secret", "", "the app's secret, - for a public client; also AUTHPI_CLIENT_SECRET; empty: "+defaultSecret)
	f.Var(&o.redirects, "redirect", "the app's redirect `URI`; may be repeated; none: "+defaultRedirect)
	f.Var(&o.afterLogout, "after-logout", "the app's post-logout redirect `URI`; may be repeated; none: / of the app, and signed-out beside each redirect URI")
	f.StringVar(&o.people, "people", "", "JSON `file` with people, organizations, roles and clients, read again when it changes")
	f.StringVar(&o.keys, "keys", defaultKeys(), "`file` that keeps the signing keys; empty: new ones at each start")
	f.StringVar(&o.backchannel, "backchannel", "", "`URL` of the app that is told when a session ends here (back-channel logout)")
	f.StringVar(&o.algorithm, "alg", "ES256", "what tokens are signed with: ES256, RS256 or EdDSA")
	f.DurationVar(&o.tokenLife, "token-life", 30*time.Minute, "how long access and ID tokens live")
	f.DurationVar(&o.refreshLife, "refresh-life", 7*24*time.Hour, "how long refresh tokens live")
	f.DurationVar(&o.machineLife, "machine-life", 5*time.Minute, "how long access tokens of machines live")
	f.BoolVar(&o.allowNetwork, "insecure-allow-network", false, "may be reached from other machines, where anybody may sign in as anyone")
	f.BoolVar(&o.printPeople, "print-people", false, "print the built-in people as a file for -people, and exit")
	f.SetOutput(io.Discard) // main prints the error
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		o.help = true
		f.SetOutput(os.Stderr)
		f.PrintDefaults()
		return o, nil
	} else if err != nil {
		return o, fmt.Errorf("%w; -h lists the flags", err)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.fillIn(getenv)
	return o, o.check()
}

// fillIn sets what depends on other options.
func (o *options) fillIn(getenv func(string) string) {
	switch secret := getenv("AUTHPI_CLIENT_SECRET"); {
	case o.clientSecret == "-":
		o.clientSecret = ""
	case o.clientSecret == "" && secret != "":
		o.clientSecret, o.secretFromEnv = secret, secret != defaultSecret
	case o.clientSecret == "":
		o.clientSecret = defaultSecret
	}
	if len(o.redirects) == 0 {
		o.redirects = list{defaultRedirect}
	}
	if len(o.afterLogout) > 0 {
		return
	}
	for _, redirect := range o.redirects { // as authpihttp and its examples have it
		if u, err := url.Parse(redirect); err == nil && u.Host != "" {
			o.afterLogout = append(o.afterLogout, u.ResolveReference(&url.URL{Path: "/"}).String(), u.ResolveReference(&url.URL{Path: "signed-out"}).String())
		}
	}
}

var goodPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-]+)+$`)

// check refuses what would fail later, or be open to others.
func (o *options) check() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	host, _, err := net.SplitHostPort(o.addr)
	refuse(err != nil, "-addr %s: %w", o.addr, err)
	refuse(err == nil && !o.mayListen(host), "-addr %s is no loopback address: anybody who reaches this issuer may sign in as anyone; -insecure-allow-network allows it", o.addr)
	for _, redirect := range slices.Concat(o.redirects, o.afterLogout) {
		refuse(!isRedirect(redirect), "%q is no redirect URI: want an absolute one without a fragment", redirect)
	}
	refuse(!goodPath.MatchString(o.path) || slices.Contains(pagePaths, o.path), "-path %s: want one such as /i_dev", o.path)
	refuse(!slices.Contains(algorithms, o.algorithm), "-alg %s: want ES256, RS256 or EdDSA", o.algorithm)
	refuse(o.tokenLife <= 0 || o.refreshLife <= 0 || o.machineLife <= 0, "a token's life is a positive duration, such as 2m")
	refuse(o.backchannel != "" && webURL(o.backchannel) == nil, "-backchannel %s: want a URL such as http://127.0.0.1:8080/auth/backchannel-logout", o.backchannel)
	return errors.Join(append(errs, o.checkURL())...)
}

// checkURL holds where this issuer is reached to loopback, too: a tunnel or proxy
// would show it to others.
func (o *options) checkURL() error {
	if o.url == "" {
		return nil
	}
	u := webURL(o.url)
	switch {
	case u == nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("-url %s: want scheme and host, such as http://127.0.0.1:9400; the path is -path", o.url)
	case !o.mayListen(u.Hostname()):
		return fmt.Errorf("-url %s leads to other machines: -insecure-allow-network allows it", o.url)
	}
	return nil
}

func (o *options) mayListen(host string) bool {
	ip := net.ParseIP(host)
	return o.allowNetwork || host == "localhost" || ip != nil && ip.IsLoopback()
}

func isRedirect(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.IsAbs() && !strings.Contains(uri, "#")
}

// webURL is nil for what is no http or https URL.
func webURL(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil
	}
	return u
}

// defaultKeys is a file in the user's cache, or none where there is no such folder.
func defaultKeys() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "authpi-issuer", "keys.json")
}

// introduce says how to use the issuer. A secret that came from the environment is
// already there, and may be a real one.
func (i *issuer) introduce(out io.Writer) error {
	o := i.opts
	lines := []string{
		"An issuer for development, where anybody may sign in as anyone.",
		"",
		"  Page          " + i.base + "/",
		"  Redirect URI  " + strings.Join(o.redirects, "\n                "),
		"  Keys          " + cmp.Or(o.keys, "new at each start"),
		"",
		"Paste these where the app starts:",
		"",
		variable("AUTHPI_ISSUER_URL", i.srv.URL),
		variable("AUTHPI_CLIENT_ID", o.clientID),
	}
	switch {
	case o.secretFromEnv:
		lines = append(lines, "# AUTHPI_CLIENT_SECRET is the one of this terminal")
	case o.clientSecret == "":
		lines = append(lines, "# no AUTHPI_CLIENT_SECRET: a public client")
	default:
		lines = append(lines, variable("AUTHPI_CLIENT_SECRET", o.clientSecret))
	}
	_, err := fmt.Fprintln(out, strings.Join(append(lines, ""), "\n"))
	return err
}

// variable is a line for a POSIX shell.
func variable(name, value string) string {
	if strings.ContainsFunc(value, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~:/@+=", c))
	}) {
		value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	}
	return "export " + name + "=" + value
}
