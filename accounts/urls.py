"""The paths of signing in and of one's account; allauth looks them up by these names.

Each name stands here once: of two paths with one name, links would lead to the last.
"""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as app
from allauth.mfa.webauthn import views as passkeys
from django.urls import path, re_path
from django.views.generic import TemplateView

from accounts import views

urlpatterns = [
    path("login/", views.SignIn.as_view(), name="account_login"),
    path("login/second/", mfa.authenticate, name="mfa_authenticate"),
    path("login/passkey/", passkeys.login_webauthn, name="mfa_login_webauthn"),
    path("login/inactive/", account.account_inactive, name="account_inactive"),
    path("logout/", account.logout, name="account_logout"),
    path("register/", views.Register.as_view(), name="account_signup"),
    path("register/name/", views.name_free, name="account_name_free"),
    path("confirm-email/", account.email_verification_sent, name="account_email_verification_sent"),
    path("confirm-email/again/", views.send_again, name="account_send_again"),
    re_path(
        r"^confirm-email/(?P<key>[-:\w]{8,200})/$",
        views.ConfirmMail.as_view(),
        name="account_confirm_email",
    ),
    path("forgot-password/", account.password_reset, name="account_reset_password"),
    path("forgot-password/sent/", account.password_reset_done, name="account_reset_password_done"),
    path(
        "forgot-password/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^forgot-password/(?P<uidb36>[0-9A-Za-z]{1,13})-(?P<key>[-\w]{1,100})/$",
        views.ResetFromLink.as_view(),
        name="account_reset_password_from_key",
    ),
    path("preferences/", views.prefer, name="account_preferences"),
    path("account/", views.overview, name="account"),
    path("account/again/", account.reauthenticate, name="account_reauthenticate"),
    path("account/again/code/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path(
        "account/again/passkey/",
        passkeys.reauthenticate_webauthn,
        name="mfa_reauthenticate_webauthn",
    ),
    path("account/email/", account.email, name="account_email"),
    path("account/password/", account.password_change, name="account_change_password"),
    path("account/password/first/", account.password_set, name="account_set_password"),
    path("account/sessions/", views.sessions, name="usersessions_list"),
    path("account/security/", mfa.index, name="mfa_index"),
    path("account/security/app/", views.AddApp.as_view(), name="mfa_activate_totp"),
    path("account/security/app/off/", app.deactivate_totp, name="mfa_deactivate_totp"),
    path("account/security/codes/", codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path(
        "account/security/codes/new/",
        codes.generate_recovery_codes,
        name="mfa_generate_recovery_codes",
    ),
    path(
        "account/security/codes/file/",
        codes.download_recovery_codes,
        name="mfa_download_recovery_codes",
    ),
    path("account/security/passkeys/", passkeys.list_webauthn, name="mfa_list_webauthn"),
    path("account/security/passkeys/add/", views.AddPasskey.as_view(), name="mfa_add_webauthn"),
    path(
        "account/security/passkeys/<int:pk>/remove/",
        passkeys.remove_webauthn,
        name="mfa_remove_webauthn",
    ),
    path(
        "account/security/passkeys/<int:pk>/edit/",
        passkeys.edit_webauthn,
        name="mfa_edit_webauthn",
    ),
    path(
        "account/gone/",
        TemplateView.as_view(template_name="account/gone.html"),
        name="account_gone",
    ),
]
