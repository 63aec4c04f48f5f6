Rails.application.routes.draw do
  root 'home#hello'
  get 'health', to: 'home#health'
end
