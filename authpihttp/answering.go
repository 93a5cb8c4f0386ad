package authpihttp

import (
	"net/http"
	"reflect"
	"sync"
)

// answering are the errors that are being written just now: their status by the
// header that all writers of one request share. To write one lets the sessions'
// middleware store the session first, and where that fails it wants to answer, too,
// through a writer further out and with an App that may be another one of the same
// sessions. So neither the writer, nor the request's context, nor the App would tell.
var answering sync.Map

func headerOf(w http.ResponseWriter) uintptr { return reflect.ValueOf(w.Header()).Pointer() }

// beginAnswer notes that an answer is being written, until end is called.
func beginAnswer(w http.ResponseWriter, status int) (end func()) {
	key := headerOf(w)
	answering.Store(key, status)
	return func() { answering.Delete(key) }
}

// answerOf gives the status of the answer that is being written, or 0.
func answerOf(w http.ResponseWriter) int {
	status, _ := answering.Load(headerOf(w))
	code, _ := status.(int)
	return code
}
