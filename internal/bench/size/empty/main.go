// Command empty is what every Go program brings along: the measure for the others.
package main

func main() {}
