// Package refresh holds no code but tests: several processes that share one
// session, over a real Redis or a real PostgreSQL, against an issuer that ends a
// session whose refresh token comes twice.
//
// The processes are this test binary, started again as a worker. How often the
// long scenarios repeat is set by AUTHPI_OUTAGES, AUTHPI_KILLS,
// AUTHPI_SHARED_KILLS and AUTHPI_SIGNIN_KILLS; AUTHPI_SEED repeats a run's random
// moments.
package refresh
