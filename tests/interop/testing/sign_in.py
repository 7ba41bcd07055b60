import re
from html import unescape
from urllib.parse import urljoin

import requests


def sign_in(url, redirect_uri, username="alice", password="wonderland-lab", decision="allow"):
    """Open an authorization request like a browser, sign in, decide, and return the redirect to the client."""
    browser, form = requests.Session(), None
    while True:
        method = "POST" if form else "GET"
        response = browser.request(method, url, data=form, allow_redirects=False, timeout=10)
        form = None
        if location := response.headers.get("Location"):
            url = urljoin(url, location)
            if url.startswith(redirect_uri):
                return url
            continue
        fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', response.text)
        form = {name: unescape(value) for name, value in fields}
        if 'id="login-submit"' in response.text:
            form |= {"username": username, "password": password}
        elif 'id="consent-allow"' in response.text:
            form["decision"] = decision
        else:
            raise AssertionError(f"{url} responded with {response.status_code}: {response.text[:500]}")
