// Package frameworks has one program for each of chi, gin and echo, and their test,
// which starts them as a user would.
package frameworks
