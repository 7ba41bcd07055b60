import express from 'express'
import session from 'express-session'
import passport from 'passport'
import OpenIDConnectStrategy from 'passport-openidconnect'

passport.use(new OpenIDConnectStrategy({
    issuer: 'http://localhost:8001',
    authorizationURL: 'http://localhost:8001/authorize',
    tokenURL: 'http://localhost:8001/token',
    userInfoURL: 'http://localhost:8001/userinfo',
    clientID: 'CLIENT_ID',
    clientSecret: 'CLIENT_SECRET',
    callbackURL: 'http://localhost:3000/cb',
    scope: ['profile', 'email'],
    nonce: true,
  },
  function verify(issuer, profile, cb) {
    return cb(null, profile)
  },
))
passport.serializeUser((user, cb) => cb(null, user))
passport.deserializeUser((user, cb) => cb(null, user))

const app = express()
app.use(session({ secret: 'SESSION_SECRET', resave: false, saveUninitialized: false }))
app.use(passport.session())
app.get('/login', passport.authenticate('openidconnect'))
app.get('/cb',
  passport.authenticate('openidconnect', { failureRedirect: '/login', failureMessage: true }),
  (request, response) => response.redirect('/'))
app.get('/', (request, response) => response.json(request.user ?? null))
app.listen(3000, 'localhost')
