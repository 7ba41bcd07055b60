"""The lab around the services. It wraps their applications from outside; production images do not contain it."""
