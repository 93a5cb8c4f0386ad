package record

import (
	"context"
	"log/slog"
)

// Logger returns the logger that records are written to: the program's, or a silent
// one if that is nil. A panic of the program's handler costs a line of the log. It
// must not cost a session the tokens that have just come for it, nor end the program
// where a goroutine of ours logs.
func Logger(program *slog.Logger) *slog.Logger {
	if program == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(recoverHandler{program.Handler()})
}

type recoverHandler struct{ slog.Handler }

func (h recoverHandler) Enabled(ctx context.Context, level slog.Level) bool {
	defer func() { _ = recover() }()
	return h.Handler.Enabled(ctx, level)
}

func (h recoverHandler) Handle(ctx context.Context, r slog.Record) error {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, r)
}
