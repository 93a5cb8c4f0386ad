package authpitest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// problemPage is for what may not be told by redirect.
func problemPage(message string) *answer {
	a := messagePage(http.StatusBadRequest, "This request cannot be answered", message)
	a.problem = message
	return a
}

// missing is the problem of a parameter that must come once.
func missing(parameter string) *answer {
	return problemPage("The " + parameter + " is missing or repeated.")
}

// notRegistered says what came, what is registered, and what changes that.
func notRegistered(parameter, came string, registered []string, change string) *answer {
	return problemPage(fmt.Sprintf("The %s %s is not registered. Registered: %s. Correct what the app sends, or change %s.",
		parameter, quoted(came), listed(registered), change))
}

// checkReturn returns why a browser may not be sent to uri, nil if it may. Where
// nothing is registered, it may be any.
func checkReturn(parameter, uri string, registered []string, change string) *answer {
	switch {
	case !redirectable(uri):
		return problemPage("The " + parameter + " " + quoted(uri) + " is no absolute URI without a fragment.")
	case len(registered) > 0 && !slices.Contains(registered, uri):
		return notRegistered(parameter, uri, registered, change)
	}
	return nil
}

// What a page and an error show of texts that may be long, and many.
const (
	maxShown  = 200 // bytes of each
	maxListed = 5
)

func quoted(text string) string {
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "..."
	}
	return strconv.Quote(text)
}

func listed(texts []string) string {
	var shown []string
	for _, text := range texts {
		if text != "" { // else it is for a client that signs nobody in
			shown = append(shown, quoted(text))
		}
	}
	if len(shown) == 0 {
		return "none"
	}
	if more := len(shown) - maxListed; more > 0 {
		return strings.Join(shown[:maxListed], ", ") + fmt.Sprintf(", and %d more", more)
	}
	return strings.Join(shown, ", ")
}
